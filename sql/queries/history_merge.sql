-- From the staged piece of history, the readings of moments that have none.
INSERT INTO readings (time, tag_id, value, quality, status)
SELECT time, tag_id, value, quality, status FROM staged_history
ON CONFLICT DO NOTHING
