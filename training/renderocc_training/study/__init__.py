"""Studies: many short trainings that differ in one thing, and tables of what each is worth."""
