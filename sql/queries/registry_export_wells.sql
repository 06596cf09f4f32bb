-- Wells in use of the tenants %(tenants)s (null: of all), oldest first.
SELECT t.slug, w.name, w.api_number, w.lift_type, w.route, w.timezone, w.contract_hour
FROM wells w
JOIN tenants t USING (tenant_id)
WHERE w.retired_at IS NULL AND (%(tenants)s::text[] IS NULL OR t.slug = ANY (%(tenants)s::text[]))
ORDER BY w.well_id
