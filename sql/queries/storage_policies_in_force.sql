-- What is done to which relation, how often or from which age on, and by what.
SELECT policy, relation, setting, by FROM storage_policies_in_force
