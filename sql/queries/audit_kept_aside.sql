SELECT original FROM quarantine WHERE spool_id = %(spool_id)s AND seq = ANY (%(seqs)s::bigint[]) AND original IS NOT NULL
