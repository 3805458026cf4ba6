"""The admin API: forget requests, checks, policy, audit."""
