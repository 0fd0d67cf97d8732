"""What a run costs, predicted before it starts: operations, seconds, bytes; and a server measured on stand-ins."""
