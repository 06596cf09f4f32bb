-- The registry: tenants, wells, connections, tags, and what pumpers write down. Nothing here is deleted; it is retired.

CREATE TABLE tenants (
    tenant_id  uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug       text NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9_]{0,30}$'),
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    retired_at timestamptz
);

CREATE TABLE wells (
    well_id       integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    name          text NOT NULL,
    api_number    text,
    lift_type     text NOT NULL CHECK (lift_type IN ('flowing', 'rod_pump', 'esp', 'gas_lift', 'plunger')),
    route         text,
    timezone      text NOT NULL DEFAULT 'UTC',
    contract_hour smallint NOT NULL DEFAULT 6 CHECK (contract_hour BETWEEN 0 AND 23),
    created_at    timestamptz NOT NULL DEFAULT now(),
    retired_at    timestamptz,
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, well_id)
);

CREATE TABLE scada_connections (
    connection_id integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    name          text NOT NULL,
    protocol      text NOT NULL CHECK (protocol IN ('opcua', 'modbus', 'mqtt')),
    config        jsonb NOT NULL,
    enabled       boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL DEFAULT now(),
    retired_at    timestamptz,
    UNIQUE (tenant_id, name),
    UNIQUE (tenant_id, connection_id)
);

CREATE TABLE tags (
    tag_id        integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    well_id       integer NOT NULL,
    connection_id integer NOT NULL,
    name          text NOT NULL,
    address       text NOT NULL,
    unit          text,
    quantity      text,
    scale         double precision NOT NULL DEFAULT 1,
    "offset"      double precision NOT NULL DEFAULT 0,
    deadband      double precision NOT NULL DEFAULT 0 CHECK (deadband >= 0),
    resolution    double precision,
    low           double precision,
    high          double precision,
    interval_s    double precision NOT NULL DEFAULT 15 CHECK (interval_s > 0),
    mode          text NOT NULL DEFAULT 'poll' CHECK (mode IN ('poll', 'rbe')),
    sentinels     double precision[] NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now(),
    retired_at    timestamptz,
    FOREIGN KEY (tenant_id, well_id) REFERENCES wells (tenant_id, well_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES scada_connections (tenant_id, connection_id),
    UNIQUE (well_id, name),
    CHECK (low < high)
);
CREATE INDEX ON tags (connection_id);
CREATE INDEX ON tags (tenant_id);

CREATE TABLE field_entries (
    entry_id    uuid NOT NULL,
    revision    integer NOT NULL DEFAULT 1 CHECK (revision >= 1),
    tenant_id   uuid NOT NULL,
    well_id     integer NOT NULL,
    entry_type  text NOT NULL CHECK (entry_type IN ('production', 'inspection', 'maintenance')),
    volume_kind text NOT NULL DEFAULT 'since_last_gauge'
                CHECK (volume_kind IN ('since_last_gauge', 'last_24h', 'day_to_date', 'nominal_half_day')),
    gauged_at   timestamptz NOT NULL,
    entered_at  timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    data        jsonb NOT NULL,
    notes       text,
    created_by  text NOT NULL,
    device_id   text,
    PRIMARY KEY (entry_id, revision),
    FOREIGN KEY (tenant_id, well_id) REFERENCES wells (tenant_id, well_id)
);
COMMENT ON COLUMN field_entries.data IS
    'production: oil_volume, gas_volume, water_volume (bbl, mcf, bbl), run_time (h), tubing_pressure, casing_pressure (psi), temperature (F)';
CREATE INDEX ON field_entries (well_id, gauged_at);
CREATE INDEX ON field_entries (tenant_id, received_at);
