-- BigQuery: how many readings there are and what they add up to by the checksum of wellos/storage/cold/checksum.py,
-- whose names are used here. Every step is exact where POW(2, e) is, and LN is off by less than one bit of e.
SELECT COUNT(*) AS n, COALESCE(SUM(MOD(ra * ((ra >> 15) + 828169629), 2147483647)), 0) AS a,
       COALESCE(SUM(MOD(rb * ((rb >> 15) + 810410683), 2147483647)), 0) AS b
FROM (
    SELECT MOD(MOD(733518357 + 878894471 * t_lo + 972825157 * t_hi + 1055419753 * tag, 2147483647)
               * MOD(1065592599 + 954327055 * m_lo + 1022520843 * m_hi + 1053331245 * form + 916300049 * rest, 2147483647),
               2147483647) AS ra,
           MOD(MOD(545051567 + 570833229 * t_lo + 690737195 * t_hi + 821154129 * tag, 2147483647)
               * MOD(928688995 + 848587757 * m_lo + 607812295 * m_hi + 685938181 * form + 696610863 * rest, 2147483647),
               2147483647) AS rb
    FROM (
        SELECT (t & 536870911) AS t_lo, (t >> 29) AS t_hi, tag, (m & 67108863) AS m_lo, (m >> 26) AS m_hi,
               form * 65536 + (status >> 16) AS form, quality * 65536 + (status & 65535) AS rest
        FROM (
            -- whatever e was off by is put right by m, which comes to 2^52 or above, below 2^53
            SELECT t, tag, quality, status,
                   CASE kind WHEN 0 THEN CAST(m * (CASE WHEN m >= 2 THEN 2251799813685248 WHEN m < 1 THEN 9007199254740992
                                                   ELSE 4503599627370496 END) AS INT64)
                             WHEN 1 THEN 0 WHEN 2 THEN 1 ELSE 2 END AS m,
                   CASE kind WHEN 0 THEN 2 * (e + (CASE WHEN m >= 2 THEN 1101 WHEN m < 1 THEN 1099 ELSE 1100 END)) + s
                             WHEN 2 THEN s ELSE 0 END AS form
            FROM (
                SELECT t, tag, quality, status, kind, s, CAST(e AS INT64) - shift AS e, w / POW(2.0, e) AS m
                FROM (
                    SELECT t, tag, quality, status, kind, s, w, shift,
                           LEAST(FLOOR(LN(w) / 0.6931471805599453), 1023.0) AS e
                    FROM (
                        -- 1 stands for what has no mantissa; a tiny value is moved up by 2^200, where nothing underflows
                        SELECT t, tag, quality, status, kind, s,
                               CASE WHEN kind <> 0 THEN 1.0 WHEN size < 1e-290 THEN size * 1.6069380442589903e60
                                    ELSE size END AS w,
                               CASE WHEN kind = 0 AND size < 1e-290 THEN 200 ELSE 0 END AS shift
                        FROM (
                            SELECT UNIX_MICROS(time) + 62135596800000000 AS t, tag_id AS tag, quality,
                                   (status & 4294967295) AS status, ABS(value) AS size,
                                   CASE WHEN IS_NAN(value) THEN 3 WHEN IS_INF(value) THEN 2 WHEN value = 0 THEN 1
                                        ELSE 0 END AS kind,
                                   CASE WHEN NOT IS_NAN(value) AND value < 0 THEN 1 ELSE 0 END AS s
                            FROM ({rows}) AS readings
                        ) AS kinds
                    ) AS sizes
                ) AS exponents
            ) AS mantissas
        ) AS parts
    ) AS numbers
) AS products
