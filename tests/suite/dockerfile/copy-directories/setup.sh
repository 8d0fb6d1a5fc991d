rm empty/.keep
