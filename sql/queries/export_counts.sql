-- How many readings each of these tags has in a window; those without any are left out. The tags are named one by one,
-- so that the readings of other tenants are not looked at.
SELECT tag_id, count(*)
FROM readings
WHERE tag_id = ANY (%(tags)s::integer[]) AND time >= %(since)s AND time < %(until)s
GROUP BY tag_id
