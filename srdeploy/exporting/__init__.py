"""Network to deployable artifact, checked."""
