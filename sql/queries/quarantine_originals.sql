SELECT quarantine_id, original FROM quarantine WHERE quarantine_id = ANY (%(ids)s::bigint[])
