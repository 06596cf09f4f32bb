-- The day's readings are in the warm tier again.
UPDATE reading_days SET dropped_at = NULL, restored_at = %(now)s, keep_until = %(keep_until)s WHERE day = %(day)s
