-- What is stored under the staged keys of one span of time, which leaves the other chunks or partitions out.
COPY (
    SELECT r.time, r.tag_id, r.value, r.quality, r.status
    FROM merge_keys AS k
    JOIN readings AS r ON r.tag_id = k.tag_id AND r.time = k.time
    WHERE k.time BETWEEN %(since)s AND %(until)s AND r.time BETWEEN %(since)s AND %(until)s
) TO STDOUT (FORMAT binary)
