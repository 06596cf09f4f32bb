-- Changes of watched days that no receipt can need any more: every copy that was proven has seen them. The newest of each
-- day stays, as it tells one state of the day from another.
DELETE FROM reading_changes AS c
WHERE c.noted_at < %(before)s
  AND c.change_id < (SELECT max(n.change_id) FROM reading_changes AS n WHERE n.day = c.day)
  AND EXISTS (SELECT FROM archive_manifest AS m WHERE m.day = c.day AND m.state = 'verified')
  AND NOT EXISTS (
      SELECT FROM archive_manifest AS m
      WHERE m.day = c.day
        AND (m.state = 'writing'
             OR m.state IN ('verified', 'quarantined') AND m.snapshot IS NOT NULL
                AND (m.cluster <> (SELECT database_cluster()) OR c.cluster <> m.cluster
                     OR NOT pg_visible_in_snapshot(c.xid, m.snapshot))))
