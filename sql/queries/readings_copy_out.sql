COPY (
    SELECT time, tag_id, value, quality, status
    FROM readings
    WHERE tag_id = ANY (%(tags)s) AND time >= %(since)s AND time < %(until)s
) TO STDOUT (FORMAT binary)
