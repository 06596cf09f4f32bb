-- What is proven to be in one cold store, by tenant; empty days hold nothing.
SELECT tenant, day, rows, bytes
FROM archive_receipts
WHERE store = %(store)s AND rows > 0
ORDER BY day, tenant
