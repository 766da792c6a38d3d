"""The report as one HTML page that needs no network: read, sorted and viewed in a browser, or printed.

leaderboard   how the rows compare, as a table that sorts and filters, and the finding in one line
panels        λ grids, effects and costs, as the page shows them
not_run       what was not run, and the command lines that would run it
plots         Matplotlib's figures, by `svg` as inline SVG in the page's colours, with labels by `label_placement`
render        everything into templates/page.html.j2
"""
