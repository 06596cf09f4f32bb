-- How much the registry holds, live and retired.
SELECT (SELECT count(*) FROM tenants WHERE retired_at IS NULL)                           AS tenants,
       (SELECT count(*) FROM wells WHERE retired_at IS NULL)                             AS wells,
       (SELECT count(*) FROM scada_connections WHERE retired_at IS NULL)                 AS connections,
       (SELECT count(*) FROM scada_connections WHERE retired_at IS NULL AND NOT enabled) AS connections_disabled,
       (SELECT count(*) FROM tags WHERE retired_at IS NULL)                              AS tags,
       (SELECT count(*) FROM tags WHERE retired_at IS NOT NULL)                          AS tags_retired
