"""The sandbox's OAuth 2 provider: applications, codes and tokens as GitLab's engine stores and returns them."""
