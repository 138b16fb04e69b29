"""SRResNet, the generator of SRGAN without normalisation, and its files."""
