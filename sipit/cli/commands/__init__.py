"""The commands, one file each: options are read, the work is called, its record is shown and written."""
