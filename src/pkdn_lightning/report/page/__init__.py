"""The report as one HTML page that needs no network: read, sorted and looked at in a browser, or printed.

leaderboard   how the rows stand, as a table that sorts and filters, and the finding in one line
panels        λ grids, effects, curves and costs, as the page shows them
missing       what was not run, and the command lines that would run it
svg, plots    Matplotlib's figures as inline SVG in the page's colours
writing       the plot: everything into templates/page.html.j2
"""
