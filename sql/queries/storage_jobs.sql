-- Background jobs of the database on readings and aggregates, and how they are.
SELECT job_id, job, relation, scheduled, status, last_success, next_start, runs, failures, consecutive_failures,
       last_error, last_error_at
FROM storage_jobs
