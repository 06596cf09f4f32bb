-- How many of each kind the plan adds, changes, leaves, retires and restores.
SELECT kind, action, count(*) FROM fleet_plan GROUP BY kind, action
