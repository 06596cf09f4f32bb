-- The newest pumper entry of every well, and how many entries and revisions there are.
SELECT wells.name AS well, count(*) AS revisions, count(DISTINCT entries.entry_id) AS entries,
       max(entries.received_at) AS received_at, max(entries.gauged_at) AS gauged_at
FROM wells
JOIN field_entries AS entries USING (well_id)
WHERE wells.retired_at IS NULL
GROUP BY wells.name
ORDER BY received_at DESC, wells.name
