-- The copy that the receipt in force speaks of is about to be, or has been, replaced.
UPDATE archive_manifest SET state = 'replaced', detail = format('by receipt %%s', %(receipt)s::bigint)
WHERE (tenant_id, day, store) = (SELECT tenant_id, day, store FROM archive_manifest WHERE receipt_id = %(receipt)s)
  AND state = 'verified' AND receipt_id <> %(receipt)s
