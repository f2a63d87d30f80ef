"""A whole cohort: every scan or study prepared, embedded and answered once, into one folder of BIDS derivatives.

``cases`` says which there are, ``settings`` what to do with each, ``one_case`` or ``one_study`` does it, ``ledger``
knows what is done, an engine (``local_engine``, ``slurm_engine``, ``dask_engine``) decides where, ``index`` and
``quality_page`` say what came out.
"""
