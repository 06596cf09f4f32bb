-- What the plan alters, top down.
SELECT kind, action, slug, well, name, old, new
FROM fleet_plan
WHERE action <> 'unchanged'
ORDER BY array_position(ARRAY['tenant', 'well', 'connection', 'tag'], kind), slug, well, name
