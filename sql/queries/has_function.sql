-- Whether a function of this name is there.
SELECT to_regproc(%(name)s) IS NOT NULL
