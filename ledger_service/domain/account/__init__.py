"""Accounts: their lots and balances, and how grants, debits, refunds and expiry move them."""
