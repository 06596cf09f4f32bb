-- Every tenant, retired ones too.
SELECT slug FROM tenants ORDER BY slug
