-- What became of an attempt.
UPDATE archive_manifest
SET state = %(state)s, rows = %(rows)s, checksum_a = %(checksum_a)s, checksum_b = %(checksum_b)s,
    connections = %(connections)s, first_time = %(first_time)s, last_time = %(last_time)s, bytes = %(bytes)s,
    location = %(location)s, file_sha256 = %(file_sha256)s, job_id = %(job_id)s, schema_version = %(schema_version)s,
    snapshot = %(snapshot)s::pg_snapshot, cluster = %(cluster)s, watermark = %(watermark)s,
    verified_at = %(verified_at)s, duration_s = %(duration_s)s, detail = %(detail)s
WHERE receipt_id = %(receipt)s AND state = 'writing'
