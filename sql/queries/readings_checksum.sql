-- How many readings a tenant has with since <= time < until, of some tags or of all, and what they add up to by the
-- checksum of wellos/storage/cold/checksum.py, whose names are used here. PostgreSQL can have a value's bits, so it need
-- not look for the exponent. OFFSET 0 keeps what is used several times from being computed as often.
SELECT count(*) AS rows,
       coalesce(sum(mod(ra * (ra / 32768 + 828169629), 2147483647)), 0)::bigint AS a,
       coalesce(sum(mod(rb * (rb / 32768 + 810410683), 2147483647)), 0)::bigint AS b
FROM (
    SELECT mod(mod(733518357 + 878894471 * (t & 536870911) + 972825157 * (t >> 29) + 1055419753 * tag, 2147483647)
               * mod(1065592599 + 954327055 * (m & 67108863) + 1022520843 * (m >> 26) + 1053331245 * form
                     + 916300049 * rest, 2147483647),
               2147483647) AS ra,
           mod(mod(545051567 + 570833229 * (t & 536870911) + 690737195 * (t >> 29) + 821154129 * tag, 2147483647)
               * mod(928688995 + 848587757 * (m & 67108863) + 607812295 * (m >> 26) + 685938181 * form
                     + 696610863 * rest, 2147483647),
               2147483647) AS rb
    FROM (
        SELECT t, tag,
               CASE WHEN bits BETWEEN 1 AND 9218868437227405311 THEN bits & 4503599627370495 | 4503599627370496
                    WHEN bits = 0 THEN 0 WHEN bits = 9218868437227405312 THEN 1 ELSE 2 END AS m,
               (CASE WHEN bits BETWEEN 1 AND 9218868437227405311 THEN (bits >> 52) * 2 + 154 - shift
                     ELSE 0 END + s) * 65536 + (status >> 16) AS form,
               quality * 65536 + (status & 65535) AS rest
        FROM (
            -- a tiny value is moved up by 2^200, as subnormal ones have their bits elsewhere
            SELECT round(date_part('epoch', r.time - %(since)s::timestamptz) * 1000000)::bigint + since_us AS t,
                   r.tag_id::bigint AS tag, r.quality::bigint AS quality, r.status & 4294967295 AS status,
                   CASE WHEN r.value < 0 THEN 1 ELSE 0 END AS s,
                   CASE WHEN abs(r.value) < '1e-290' THEN 400 ELSE 0 END AS shift,
                   ('x' || encode(float8send(CASE WHEN abs(r.value) < '1e-290'
                       THEN abs(r.value) * '1606938044258990275541962092341162602522202993782792835301376'
                       ELSE abs(r.value) END), 'hex'))::bit(64)::bigint AS bits
            FROM readings AS r,
                 (SELECT (extract(epoch FROM %(since)s::timestamptz) * 1000000)::bigint
                         + 62135596800000000 AS since_us) AS start
            WHERE r.time >= %(since)s AND r.time < %(until)s
              AND r.tag_id IN (SELECT tag_id FROM tags WHERE tenant_id = %(tenant_id)s)
              AND (%(tags)s::integer[] IS NULL OR r.tag_id = ANY (%(tags)s))
            OFFSET 0
        ) AS reading OFFSET 0
    ) AS numbers OFFSET 0
) AS products
