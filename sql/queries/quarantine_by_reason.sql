-- What quarantine holds that nobody has resolved, by reason, and what was added since a moment.
SELECT reason, count(*) AS items, count(*) FILTER (WHERE received_at >= %(since)s) AS recent, max(received_at) AS newest
FROM quarantine
WHERE resolved_at IS NULL
GROUP BY reason
ORDER BY items DESC, reason
