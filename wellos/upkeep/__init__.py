"""What is removed with age: everything that is neither a reading nor proof of one."""
