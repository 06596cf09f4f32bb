-- Session tables of the merge path; they empty themselves at the end of every transaction.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_readings (
    ordinal integer GENERATED ALWAYS AS IDENTITY (MINVALUE 0),
    time    timestamptz NOT NULL,
    tag_id  integer NOT NULL,
    value   double precision NOT NULL,
    quality smallint NOT NULL,
    status  integer NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS merge_outcomes (
    ordinal      integer NOT NULL,
    time         timestamptz NOT NULL,
    tag_id       integer NOT NULL,
    value        double precision NOT NULL,
    quality      smallint NOT NULL,
    status       integer NOT NULL,
    outcome      text NOT NULL,
    lost_value   double precision,
    lost_quality smallint,
    lost_status  integer
) ON COMMIT DELETE ROWS
