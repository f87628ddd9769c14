"""Who hears of it: rules, alerts, routes, groups, mutes and messages, as pure code."""
