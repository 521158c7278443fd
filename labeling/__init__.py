"""Campaigns: choosing frames, the crowd (real or simulated), and turning its votes into labels."""
