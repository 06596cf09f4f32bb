-- How many readings a tenant has with since <= time < until, of some tags or of all, and what they add up to by the
-- checksum of wellos/storage/cold/checksum.py, whose names are used here. OFFSET 0 keeps each step from being computed
-- again wherever its result is used; without it this takes four times as long.
SELECT count(*) AS rows,
       coalesce(sum(mod(ra * (ra / 32768 + 828169629), 2147483647)), 0)::bigint AS a,
       coalesce(sum(mod(rb * (rb / 32768 + 810410683), 2147483647)), 0)::bigint AS b
FROM (
    SELECT mod(mod(733518357 + 878894471 * t_lo + 972825157 * t_hi + 1055419753 * tag, 2147483647)
               * mod(1065592599 + 954327055 * m_lo + 1022520843 * m_hi + 1053331245 * form + 916300049 * rest, 2147483647),
               2147483647) AS ra,
           mod(mod(545051567 + 570833229 * t_lo + 690737195 * t_hi + 821154129 * tag, 2147483647)
               * mod(928688995 + 848587757 * m_lo + 607812295 * m_hi + 685938181 * form + 696610863 * rest, 2147483647),
               2147483647) AS rb
    FROM (
        SELECT t & 536870911 AS t_lo, t >> 29 AS t_hi, tag,
               m & 67108863 AS m_lo, m >> 26 AS m_hi,
               form * 65536 + (status >> 16) AS form, quality * 65536 + (status & 65535) AS rest
        FROM (
            -- w is 1 in place of what has no mantissa; m comes to 2^52 or above, whatever e was off by
            SELECT t, tag, quality, status,
                   CASE kind WHEN 0 THEN (m * CASE WHEN m >= 2 THEN 2251799813685248 WHEN m < 1 THEN 9007199254740992
                                              ELSE 4503599627370496 END::double precision)::bigint
                             WHEN 1 THEN 0 WHEN 2 THEN 1 ELSE 2 END AS m,
                   CASE kind WHEN 0 THEN 2 * (e + CASE WHEN m >= 2 THEN 1101 WHEN m < 1 THEN 1099 ELSE 1100 END) + s
                             WHEN 2 THEN s ELSE 0 END AS form
            FROM (
                SELECT t, tag, quality, status, kind, s, (e - shift)::bigint AS e, w / power(2::double precision, e) AS m
                FROM (
                    SELECT t, tag, quality, status, kind, s, w, shift,
                           least(floor(ln(w) / 0.6931471805599453::double precision), 1023) AS e
                    FROM (
                        -- a tiny value is moved up by 2^200, where no step can underflow
                        SELECT round(date_part('epoch', r.time - %(since)s::timestamptz) * 1000000)::bigint + since_us AS t,
                               r.tag_id::bigint AS tag, r.quality::bigint AS quality, r.status & 4294967295 AS status,
                               CASE WHEN r.value < 0 THEN 1 ELSE 0 END AS s,
                               CASE WHEN r.value = 0 THEN 1 WHEN r.value IN ('Infinity', '-Infinity') THEN 2
                                    WHEN r.value = 'NaN' THEN 3 ELSE 0 END AS kind,
                               CASE WHEN r.value = 0 OR r.value IN ('Infinity', '-Infinity', 'NaN') THEN 1
                                    WHEN abs(r.value) < '1e-290'
                                    THEN abs(r.value) * '1606938044258990275541962092341162602522202993782792835301376'
                                    ELSE abs(r.value) END AS w,
                               CASE WHEN r.value <> 0 AND abs(r.value) < '1e-290' THEN 200 ELSE 0 END AS shift
                        FROM readings AS r,
                             (SELECT (extract(epoch FROM %(since)s::timestamptz) * 1000000)::bigint
                                     + 62135596800000000 AS since_us) AS start
                        WHERE r.time >= %(since)s AND r.time < %(until)s
                          AND r.tag_id IN (SELECT tag_id FROM tags WHERE tenant_id = %(tenant_id)s)
                          AND (%(tags)s::integer[] IS NULL OR r.tag_id = ANY (%(tags)s))
                        OFFSET 0
                    ) AS reading OFFSET 0
                ) AS exponent OFFSET 0
            ) AS mantissa OFFSET 0
        ) AS parts OFFSET 0
    ) AS numbers OFFSET 0
) AS products
