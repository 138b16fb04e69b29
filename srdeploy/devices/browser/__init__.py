"""Phones, tablets and desktops as devices, by one page that their browser opens."""
