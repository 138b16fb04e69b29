"""Where networks run: this machine, boards, phones, browsers, and fakes of them."""
