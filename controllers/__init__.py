"""The control loops: each module keeps one thing true, and `controllers.manager` runs them all."""
