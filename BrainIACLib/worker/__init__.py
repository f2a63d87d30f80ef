"""A child process that keeps the models warm, and its clients.

``protocol`` is the contract on the wire, ``service`` what a request does, ``__main__`` the process itself;
``conversation`` is a client's side without any pipe, ``client`` the blocking client for Python and the command line.
Slicer's module drives the same conversation over a QProcess. Nothing here opens a port or reaches the network.
"""
