INSERT INTO cold_stores (store) VALUES (%(store)s) ON CONFLICT (store) DO UPDATE SET store = excluded.store
RETURNING id::text
