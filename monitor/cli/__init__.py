"""The command `watchkeeper`: parsing and printing, and no decisions."""
