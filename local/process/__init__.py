"""Child processes of one machine: started with back-off, their output told apart, ended with their parent."""
