-- The jobs that metrics count: those that are pending, or were given up and not cancelled. Done
-- ones are kept for a month and are many.
CREATE INDEX payment_jobs_open ON payment_jobs (kind, status, created_at)
    WHERE status <> 'done' AND cancelled_at IS NULL;
