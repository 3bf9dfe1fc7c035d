"""`python -m jaxcnn`: the command line."""

from jaxcnn.cli import main

main()
