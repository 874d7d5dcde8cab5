"""Value numbering: equal numbers are equal values, for every value of the parameters. All that is known of equality."""
