-- The tags or wells that an aggregate knows readings of in a window.
SELECT DISTINCT {key}
FROM {relation}
WHERE bucket >= %(start)s AND bucket < %(end)s
ORDER BY {key}
