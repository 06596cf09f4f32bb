-- Temporary tables that a fleet file is copied into, in the order in which it was written.
CREATE TEMPORARY TABLE fleet_tenants (
    position integer GENERATED ALWAYS AS IDENTITY, slug text, name text
) ON COMMIT DROP;
CREATE TEMPORARY TABLE fleet_wells (
    position integer GENERATED ALWAYS AS IDENTITY, slug text, name text, api_number text, lift_type text, route text,
    timezone text, contract_hour smallint
) ON COMMIT DROP;
CREATE TEMPORARY TABLE fleet_connections (
    position integer GENERATED ALWAYS AS IDENTITY, slug text, name text, protocol text, enabled boolean, config jsonb
) ON COMMIT DROP;
CREATE TEMPORARY TABLE fleet_tags (
    position integer GENERATED ALWAYS AS IDENTITY, slug text, connection text, name text, well text, address text,
    unit text, quantity text, metric text, scale double precision, "offset" double precision,
    deadband double precision, resolution double precision, low double precision, high double precision,
    interval_s double precision, mode text, sentinels double precision[]
) ON COMMIT DROP;
CREATE TEMPORARY TABLE fleet_plan (
    kind text, slug text, well text, name text, id integer, action text, old jsonb, new jsonb
) ON COMMIT DROP;
