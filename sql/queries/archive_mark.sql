-- A receipt's new state, and why; where its copy is now, if that changed.
UPDATE archive_manifest SET state = %(state)s, detail = %(detail)s, location = coalesce(%(location)s, location)
WHERE receipt_id = %(receipt)s
