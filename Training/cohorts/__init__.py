"""Cohorts to manifests: readers of public data sets as their owners lay them out, and two cohorts that are here now."""
